"""Dagger's GraphQL API: the fields of each type, and how a query is answered."""
