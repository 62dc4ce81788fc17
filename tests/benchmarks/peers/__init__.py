"""What the serving benchmark is compared with: each answers an image with its vector over HTTP."""
