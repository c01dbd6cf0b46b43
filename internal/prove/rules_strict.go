package main

var strict []Rule
