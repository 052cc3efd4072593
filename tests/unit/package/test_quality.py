"""Figures of quality in a manifest, for people."""

from nasc.package.quality import quality_texts, without_intervals


def test_a_figure_is_told_with_its_interval() -> None:
    quality = {
        "mrr_at_10": 0.72621,
        "recall_low": 0.5,  # no end: there is no recall
        "mrr_at_10_low": 0.7178,
        "mrr_at_10_high": 0.7345,
        "questions": 2000,
        "retrieval_data": "dev.json",
    }
    assert quality_texts(quality) == {
        "mrr_at_10": "0.7262 (0.7178 to 0.7345)",
        "recall_low": "0.5000",
        "questions": "2000",
        "retrieval_data": "dev.json",
    }
    assert list(without_intervals(quality)) == list(quality_texts(quality))
    lone = {"mrr_at_10": 0.7, "mrr_at_10_low": 0.6}
    assert quality_texts(lone)["mrr_at_10"] == "0.7000"
