//! What only Windows itself can show: wine proves none of these. Run by the workflow's Windows job.
