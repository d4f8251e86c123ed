"""The stage of the story: processes, a table full of prices, and who counts what came."""
