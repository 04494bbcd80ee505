"""Pictures of models: functions of arrays or a model that return a matplotlib Figure, or the numbers behind it."""

from minigrad.viz.attribution import grad_cam, grad_cam_map, occlusion, occlusion_map, saliency, saliency_map
from minigrad.viz.autograd import autograd_graph
from minigrad.viz.confusion import confusion_counts, confusion_matrix
from minigrad.viz.curves import lr_curve, training_curves
from minigrad.viz.excitation import activation_images, maximize_activation, prototype_images, prototypes
from minigrad.viz.filter_grid import filters
from minigrad.viz.filter_tape import FilterTape
from minigrad.viz.health import FilterHealth, HealthReport, filter_health
from minigrad.viz.html_report import report
from minigrad.viz.learning import filter_step
from minigrad.viz.maps import feature_maps
from minigrad.viz.model_summary import Summary, summary
from minigrad.viz.page import EmbeddedPage, Live, embed, live, page
from minigrad.viz.patches import patch_grid, patch_places, top_patches
from minigrad.viz.pixel import PixelExplanation, explain_pixel
from minigrad.viz.sharing import LayerSize, dense_or_convolution, layer_sizes, shared_weights, shifted_maps
from minigrad.viz.sliding import slide_window, window_positions
from minigrad.viz.style import save
from minigrad.viz.volumes import draw
from minigrad.viz.wrong_answers import mistakes

__all__ = [
    "EmbeddedPage",
    "FilterHealth",
    "FilterTape",
    "HealthReport",
    "LayerSize",
    "Live",
    "PixelExplanation",
    "Summary",
    "activation_images",
    "autograd_graph",
    "confusion_counts",
    "confusion_matrix",
    "dense_or_convolution",
    "draw",
    "embed",
    "explain_pixel",
    "feature_maps",
    "filter_health",
    "filter_step",
    "filters",
    "grad_cam",
    "grad_cam_map",
    "layer_sizes",
    "live",
    "lr_curve",
    "maximize_activation",
    "mistakes",
    "occlusion",
    "occlusion_map",
    "page",
    "patch_grid",
    "patch_places",
    "prototype_images",
    "prototypes",
    "report",
    "saliency",
    "saliency_map",
    "save",
    "shared_weights",
    "shifted_maps",
    "slide_window",
    "summary",
    "top_patches",
    "training_curves",
    "window_positions",
]


def __dir__() -> list[str]:
    return __all__
