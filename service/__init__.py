"""The microservice: bytes → Radiograph → vector → cases → evidence → report."""
