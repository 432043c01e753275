{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.04251465320587158,"avg_event_concurrent_process_time":0.010628663301467896,"rank_eta":0.04251465320587158,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_generating","output":{"data":["0"],"is_generating":true,"duration":0.000396728515625,"average_duration":0.000396728515625},"success":true}
{"msg":"process_generating","output":{"data":["1"],"is_generating":true,"duration":7.796287536621094e-05,"average_duration":0.00023734569549560547},"success":true}
{"msg":"process_generating","output":{"data":["2"],"is_generating":true,"duration":0.00010061264038085938,"average_duration":0.00019176801045735678},"success":true}
{"msg":"process_completed","output":{"error":"'failed after outputs'"},"success":false}
