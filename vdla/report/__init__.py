"""Reports of a run: the table, report.json, pictures, Chrome trace and one HTML page."""

from vdla.report.files import ReportFolder, read_document
from vdla.report.model import SCHEMA, Report
from vdla.report.table import compare_tables, print_line, print_report

__all__ = ["SCHEMA", "Report", "ReportFolder", "compare_tables", "print_line", "print_report", "read_document"]
