"""Documents, their writers, and the views that make them; figures and exports beside them."""
