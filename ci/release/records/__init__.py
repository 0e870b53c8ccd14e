"""Release records and the lock, in the environment's DynamoDB table."""
