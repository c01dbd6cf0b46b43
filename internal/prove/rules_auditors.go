package main

var auditors []Rule
