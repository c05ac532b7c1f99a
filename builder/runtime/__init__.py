"""What runs in the image: `python -m builder.runtime` calls the app's `setup` and serves its endpoints.

The standard library, and where there are endpoints FastAPI and uvicorn (or fal's own SDK), which the app's
lock pins with everything else. Python 3.9 and up.
"""
