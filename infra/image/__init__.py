"""The root file system of the functions' image, with an engine (Dockerfile) or without (python -m infra.image)."""
