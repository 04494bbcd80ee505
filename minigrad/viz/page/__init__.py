"""The page in which a model runs: one HTML file, in a notebook, or served while it trains.

export.py writes the file, or embeds it in a notebook; live.py and server.py serve it; program.py and payload.py say
what the model computes.  scripts/, page.css and template.html are what runs in the browser.
"""

from minigrad.viz.page.export import EmbeddedPage, embed, page
from minigrad.viz.page.live import Live, live

__all__ = ["EmbeddedPage", "Live", "embed", "live", "page"]
