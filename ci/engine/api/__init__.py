"""Dagger's GraphQL API: the resolvers of each type, and the execution of queries."""
