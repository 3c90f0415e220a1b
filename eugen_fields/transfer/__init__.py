"""A trained run turned into a run with smaller layers."""
