"""Compare methods over budgets and calibration draws: plan, cells, table, picture, advice."""
