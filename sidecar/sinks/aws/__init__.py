"""Messages to a queue of SQS or a topic of SNS, as CloudEvents in JSON."""
