"""The command line and the demo: the other five rooms in one place."""
