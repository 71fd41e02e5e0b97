"""The page in the browser: ``slowfast-zoo web``, with the extra ``web``."""
