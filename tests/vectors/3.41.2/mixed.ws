{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.039482781676208084,"avg_event_concurrent_process_time":0.009870695419052021,"rank_eta":0.039482781676208084,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_generating","output":{"data":["step 0",{"i":0,"seen":[],"flag":true}],"is_generating":true,"duration":0.0002219676971435547,"average_duration":0.0002219676971435547},"success":true}
{"msg":"process_generating","output":{"data":["step 1",{"i":1,"seen":[0],"flag":false}],"is_generating":true,"duration":7.915496826171875e-05,"average_duration":0.00015056133270263672},"success":true}
{"msg":"process_generating","output":{"data":["step 2",{"i":2,"seen":[0,1],"flag":true}],"is_generating":true,"duration":7.128715515136719e-05,"average_duration":0.00012413660685221353},"success":true}
{"msg":"process_generating","output":{"data":["step 3",{"i":3,"seen":[0,1,2],"flag":false}],"is_generating":true,"duration":0.00016927719116210938,"average_duration":0.0001354217529296875},"success":true}
{"msg":"process_completed","output":{"data":["step 3",{"i":3,"seen":[0,1,2],"flag":false}],"is_generating":true,"duration":0.00016927719116210938,"average_duration":0.0001354217529296875},"success":true}
