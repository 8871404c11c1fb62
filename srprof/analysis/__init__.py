"""What srprof says about one run: the record, how it is computed, and how a model is analyzed."""

from srprof.analysis.record import SCHEMA, AnalysisRecord
from srprof.analysis.run import Analysis, analyze, scratch_on, trace

__all__ = ["SCHEMA", "Analysis", "AnalysisRecord", "analyze", "scratch_on", "trace"]
