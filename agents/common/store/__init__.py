"""What agents keep: items with optimistic locking, in DynamoDB or in memory."""
