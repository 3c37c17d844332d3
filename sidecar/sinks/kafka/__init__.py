"""Messages to topics of Kafka, or of whatever speaks its protocol."""
