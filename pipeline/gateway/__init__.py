"""What the gateway serves: published models as server-sent events and as JSON, and the dashboard."""
