"""Synthetic pedestrians: a data set and a video that need no download and show nobody."""
