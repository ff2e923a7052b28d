"""Messages to people and other systems: webhooks, Alertmanager, the durable outbox."""
