"""The only place that calls boto3: dictionaries in, frozen values out."""
