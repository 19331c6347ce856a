"""Every module of this package registers its data sets when the package is imported: a new data set is one new file."""

from benchmark.data.base import DATASETS, DataSet, Phrase, Region, Sample
from benchmark.plugins import import_modules

__all__ = ["DATASETS", "DataSet", "Phrase", "Region", "Sample"]

import_modules(__name__, __path__, DATASETS)
