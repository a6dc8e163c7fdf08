"""From data to an answer: estimators with scikit-learn's conventions, and what they are measured against."""
