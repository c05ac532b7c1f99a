"""Compiled wheels at work: finds the edges in an image, one that is sent or one that is drawn.

curl -X POST localhost:8080/ -H 'Content-Type: application/json' -d '{"shape": "disk", "size": 128}'
"""

from __future__ import annotations

import base64
import io
from typing import Any

from builder import App, endpoint


class Vision(App):
    python_version = "3.11"
    machine_type = "S"
    requirements = [
        "numpy==2.3.4",
        "pillow==12.0.0",
        "scikit-image==0.25.2",
    ]

    def setup(self) -> None:
        import numpy as np
        from PIL import Image
        from skimage import draw, feature

        self.np, self.image, self.draw, self.feature = np, Image, draw, feature

    @endpoint("/")
    def edges(self, request: dict[str, Any]) -> dict[str, Any]:
        """Find edges.

        Args:
            request: `image` is a base64 PNG or JPEG; without it a `shape` ("disk" or "square") of `size`
                pixels is drawn. `sigma` is how far the image is smoothed first, in pixels.
        """
        grey = self.decode(request["image"]) if "image" in request else self.drawn(**self.shape(request))
        found = self.feature.canny(grey, sigma=float(request.get("sigma", 1.0)))
        return {
            "width": grey.shape[1],
            "height": grey.shape[0],
            "mean": round(float(grey.mean()), 6),
            "edge_pixels": int(found.sum()),
            "thumbnail": self.encode(found),
        }

    def shape(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"shape": request.get("shape", "disk"), "size": min(int(request.get("size", 128)), 2048)}

    def drawn(self, shape: str, size: int) -> Any:
        grey = self.np.zeros((size, size))
        middle, reach = size // 2, size // 4
        if shape == "square":
            rows, columns = self.draw.rectangle(
                (reach, reach), end=(size - reach, size - reach), shape=grey.shape
            )
        else:
            rows, columns = self.draw.disk((middle, middle), reach, shape=grey.shape)
        grey[rows, columns] = 1.0
        return grey

    def decode(self, encoded: str) -> Any:
        picture = self.image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")
        return self.np.asarray(picture, dtype=float) / 255

    def encode(self, found: Any) -> str:
        """A PNG of at most 64 by 64 pixels, base64."""
        picture = self.image.fromarray((found * 255).astype("uint8"))
        picture.thumbnail((64, 64))
        out = io.BytesIO()
        picture.save(out, format="PNG")
        return base64.b64encode(out.getvalue()).decode()
