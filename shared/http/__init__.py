"""What every HTTP face of a function shares: who calls, what went wrong, how lists are paged."""
