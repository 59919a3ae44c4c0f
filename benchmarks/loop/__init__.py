"""The grid on which every decision of the loop is measured: five data sets, ten changes, three strengths."""
