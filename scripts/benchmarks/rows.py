"""All rows, in the order of the table."""

from scripts.benchmarks import cases_graph, cases_growth, cases_saver, cases_storage, cases_store, cases_task
from scripts.benchmarks.case import Row

ROWS: list[Row] = [
    *cases_graph.ROWS,
    *cases_task.ROWS,
    *cases_saver.ROWS,
    *cases_storage.ROWS,
    *cases_growth.ROWS,
    *cases_store.ROWS,
]
