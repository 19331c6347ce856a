"""Every module of this package registers its data sets when the package is imported: a new data set is one new file."""

from importlib import import_module
from pkgutil import iter_modules

from benchmark.data.base import DATASETS, DataSet, Phrase, Region, Sample

__all__ = ["DATASETS", "DataSet", "Phrase", "Region", "Sample"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
