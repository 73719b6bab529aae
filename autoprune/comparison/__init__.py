"""Many methods, several budgets, several calibration draws: plan, cells, table, picture, advice."""
