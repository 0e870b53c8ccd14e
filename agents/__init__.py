"""The five agents: HTTP services made by one app factory, one small package each."""
