"""The page in which a model runs: one HTML file, or served while it trains.

export.py writes the file; live.py and server.py serve it; program.py and payload.py say what the model computes.
scripts/, page.css and template.html are what runs in the browser.
"""

from minigrad.viz.page.export import page
from minigrad.viz.page.live import Live, live

__all__ = ["Live", "live", "page"]
