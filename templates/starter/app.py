"""A pure Python app: turns a title into the part of a URL."""

from __future__ import annotations

from builder import App, endpoint


class Hello(App):
    python_version = "3.11"
    requirements = ["python-slugify==8.0.4"]

    def setup(self) -> None:
        # Imported here: what only the image has cannot be imported where the file is loaded.
        from slugify import slugify

        self.slugify = slugify

    @endpoint("/")
    def slug(self, title: str = "Hello, Wörld!") -> dict[str, str]:
        return {"title": title, "slug": self.slugify(title)}
