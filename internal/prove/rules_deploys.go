package main

var deploys []Rule
