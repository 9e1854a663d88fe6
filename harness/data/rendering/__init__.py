"""Rendered pedestrians: who they are, what they look like in a picture, and what a witness says of them."""
