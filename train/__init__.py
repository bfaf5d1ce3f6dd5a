"""The LGEU model and its training."""
