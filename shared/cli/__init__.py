"""The command line: talks to a running platform over HTTP, starts one, and looks a machine over."""
