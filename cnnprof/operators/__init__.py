"""What is known of torch's operators: how to make their outputs without data, and which products each of them costs."""

from cnnprof.operators.mode import MetaMode
from cnnprof.operators.shapes import ShapeError
from cnnprof.operators.table import Rule, products_of, rule, writes

__all__ = ["MetaMode", "Rule", "ShapeError", "products_of", "rule", "writes"]
