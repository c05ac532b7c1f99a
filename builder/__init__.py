"""What an app file imports: `from builder import App, endpoint`.

Standard library only and cheap, since it runs in the user's interpreter and in the image (Python 3.8 and up).
Besides this and builder.runtime nothing of this package goes into an image.
"""

from __future__ import annotations

from builder.app import App, endpoint

__all__ = ["App", "endpoint"]
