"""What the manifests say once kustomize has put them together, and whether Kubernetes and Knative would take it."""
