"""Real Kafka, Cassandra, Redis, MinIO and NATS on loopback, without Docker: what scripts/stack runs."""
