"""The paper's tables and figures: one declarative file each, and what runs them."""
