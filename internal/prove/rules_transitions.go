package main

var transitions []Rule
