"""Single packets of our own making: which hop answers, which size arrives."""
