"""The page in which a model runs: one HTML file, or served while it trains.

export.py writes the file; live.py serves it.  scripts/ and page.css are what runs in the browser.
"""

from minigrad.viz.page.export import page

__all__ = ["page"]
