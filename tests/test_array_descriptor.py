"""The check that NumPy stores arrays where kernels read them."""

import numpy as np
import pytest

from minigrad.errors import DeviceError
from minigrad.runtime import view


def test_this_numpy_stores_arrays_where_kernels_read_them():
    view.check_array_descriptor()


@pytest.mark.parametrize("field", ["DATA", "NDIM", "SHAPE"])
def test_a_numpy_that_stores_a_field_elsewhere_is_refused(monkeypatch, field):
    monkeypatch.setattr(view, field, getattr(view, field) + 8)
    with pytest.raises(DeviceError, match=f"NumPy {np.__version__} .*expected .*3, .*pyproject.toml allows"):
        view.check_array_descriptor()
