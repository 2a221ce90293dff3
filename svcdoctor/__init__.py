"""svcdoctor: the doctor for Kubernetes Service networking."""

__version__ = "0.1.0"
