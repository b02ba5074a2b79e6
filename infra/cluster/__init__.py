"""A one-node Kubernetes with Knative Serving and Eventing, without Docker: see docs/reference/cluster.md."""
